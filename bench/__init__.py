"""Quality and speed, measured side by side in one run. Results and how they were made: RESULTS.md."""
