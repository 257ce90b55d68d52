"""The web server: routes, security, rating page and admin page, load test."""
