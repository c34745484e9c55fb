"""Many small changes of one model, each measured alone: in parallel, remembered, resumable."""
