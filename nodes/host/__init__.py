"""The seam to ComfyUI: the only place that knows its model code."""
