//! A lease follows demand, gives up what others need, and survives what happens to messages.
