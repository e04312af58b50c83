"""The push gateway: Prosody's pushes to APNs (calls) and FCM (messages), with the metrics an on-call person needs."""
