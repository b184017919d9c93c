//! What a step inside containers sees.
