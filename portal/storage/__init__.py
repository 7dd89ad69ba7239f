"""Files and folders, on a file system or in an object store, written whole or not at all."""
