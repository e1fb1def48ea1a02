//! What the lines that frameworks and databases print when a migration fails mean, and what to type next.
