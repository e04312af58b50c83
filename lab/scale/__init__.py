"""`make scale`: very many real users through HAProxy to real Prosodys, with everything that watches them."""
