"""The web server: routes, security, the pages that raters and the study's administrator see."""
