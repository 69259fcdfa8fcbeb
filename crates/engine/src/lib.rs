//! Component traits, graph, queues, budget, delivery, shutdown
