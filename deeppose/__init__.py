"""What two or more of the pipeline's scripts share; nothing here imports a script or reads the command line."""
