"""What a plugin in plain grpcio needs of the contract beside its own service.

Not a library to install: the examples share this folder so that each shows what is its own. Take it along, or take from it.
"""
