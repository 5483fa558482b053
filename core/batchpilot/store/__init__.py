"""The registry's database: schema, transactions fenced by the owner's term, pages of job states."""
