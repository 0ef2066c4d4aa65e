//! The target `http2` of the engine's fuzzing module, which says what it promises.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sensor_engine::fuzzing::run("http2", data));
