"""Read and embed files on the machines of a Ray cluster; the plan and the commit stay here.

    blocks of files -> [an actor: hash -> claim -> load -> embed] -> results, in any order

An actor holds one model and a few decoders. Where several files may hold the same, it asks before
it decodes whether another was given that content, so that none is embedded twice. Ray Data runs
the blocks of an actor or a machine that died again, and holds back where the results wait.
Needs the group `ray`; nothing is imported from here but where a cluster is named.
"""
