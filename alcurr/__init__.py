"""alcurr: which examples should my model see next?"""
