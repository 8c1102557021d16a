"""What DeepSeek and AsyncDeepSeek add to the openai SDK's clients."""
