"""amqplib for Node.js."""
