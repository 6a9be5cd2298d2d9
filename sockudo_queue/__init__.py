"""Take Sockudo's webhook jobs off a queue, sign them and deliver them; lose none."""

__version__ = "0.1.0"
