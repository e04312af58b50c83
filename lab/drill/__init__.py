"""The drill: breaks the lab once for every alert and follows the alert to its receiver."""
