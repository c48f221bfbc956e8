"""The broker package: frames, confirms, batches as messages, patches of pamqp."""
