"""Random faults in the whole stack, and a judge: whatever breaks, our programs must neither crash, leak nor lie."""
