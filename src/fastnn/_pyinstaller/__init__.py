"""Where PyInstaller finds hook-fastnn.py: the entry point `pyinstaller40` of pyproject.toml names this function."""


def hook_folders() -> list[str]:
    return list(__path__)
