"""Files to arrays and back: the only room that opens video, audio and images."""
