"""LMs that ask through a provider's batch API: about half the price, and answers within a day."""
