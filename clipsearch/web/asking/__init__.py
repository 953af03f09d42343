"""What is asked, read from requests: all its mistakes, and in which form it may come."""
