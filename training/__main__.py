"""`python -m training …` is `recserve train …`."""

import sys

from recserve import main

main(["train", *sys.argv[1:]])
