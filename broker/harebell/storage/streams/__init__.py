"""The logs of streams: chunks in segments, on disk or in memory, and the decoded blocks readers share."""
