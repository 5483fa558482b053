"""What runs jobs: the template that has loaded their code, and the slots forked from it."""
