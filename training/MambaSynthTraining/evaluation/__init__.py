"""Scores of trained models on subjects they never saw, and the tables made of them.

candidates, trivial   what can be scored: a volume in, a volume in the network's range out
measures, lpips       one slice against one slice, by every declared convention
distribution          all slices against all slices
tissues               where a volume is wrong
scoring, score_files  all subjects and seeds -> CSV and JSON files
results               and back
statistics            paired t-tests over subjects, Holm's correction
table, pictures       the paper's table as Markdown, CSV and pictures; further_table: the rest
"""
