//! The target `multipart` of the engine's fuzzing module, which says what it promises.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sensor_engine::fuzzing::run("multipart", data));
