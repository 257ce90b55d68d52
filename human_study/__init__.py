"""Listening tests: samples folders in; rating pages, ratings and confidence intervals out.

    design     STUDY.yaml, stimuli, the study folder          database   tables, migrations, transactions
    sessions   raters, leases, trials                         web        server, admin page, rating page
    analysis   post-screening, statistics, tables, report

A room imports only the rooms before it: design, database, sessions, analysis, web. Systems under test come as samples
folders (musicgen/samples.py); no model is loaded here.
"""
