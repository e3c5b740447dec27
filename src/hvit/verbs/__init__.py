"""What each verb does, callable from Python."""
