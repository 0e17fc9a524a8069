"""Side-by-side measurements of mail proxies on one machine."""
