"""From the blocks of rows that readers make to the batches of one rank: aligned, shuffled, kept, cut, fetched ahead."""
