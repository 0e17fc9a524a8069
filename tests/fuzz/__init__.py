"""Random peers against one engine, in any phase and for any time: ``ci/fuzz``. Not part of the suite."""
