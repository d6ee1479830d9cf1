"""Reports on training runs: reads what a run wrote (DLLogger lines, test scores), draws and compares."""
