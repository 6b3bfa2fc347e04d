"""The Open Inference Protocol, KServe's V2: the same models, threads and limits as the contract.

`service` has the methods, `faces` reads the faces of a request, `tensors` their values.
"""
