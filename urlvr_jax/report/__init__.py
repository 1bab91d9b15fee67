"""The page of runs: one file that opens anywhere, with their curves, alarms, questions and what the model wrote.

In: run folders, through `comparing.arms`. Out: HTML with all that it needs in it. Bokeh draws; nothing here needs a
device. What models wrote is text in the page, never markup.
"""
