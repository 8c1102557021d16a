"""Prompt families: tokenizers, chat templates and tool markup; text to ids and back."""
