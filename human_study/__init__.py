"""Listening tests: from samples folders to rating pages, ratings and confidence intervals.

    design     STUDY.yaml, stimuli, the study folder          database   tables, migrations, transactions
    sessions   raters, leases, trials                         web        server, admin page, rating page
    analysis   post-screening, statistics, tables, report

A subpackage imports only those before it in this order: design, database, sessions, analysis, web. The systems under test are
read from samples folders (musicgen/samples.py); no model is loaded here.
"""
