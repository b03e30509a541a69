"""Files from strangers: bounded, whole, and nothing but data.

Every reader of the package gets its bytes, its JSON and its arrays through these modules, so that
what a file may cost is said in one place per form, by constants that the errors name.
"""
