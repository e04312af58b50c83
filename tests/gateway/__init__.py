"""Tests of the push gateway, most of them against the lab's fake APNs and FCM over real TLS."""
