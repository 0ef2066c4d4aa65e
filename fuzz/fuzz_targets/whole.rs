//! The target `whole` of the engine's fuzzing module, which says what it promises.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sensor_engine::fuzzing::run("whole", data));
