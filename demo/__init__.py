"""The demo model: a small trained Flux that draws emoji, and the scripts that made it."""
