//! Test hosts and traffic: network namespaces joined by veth pairs, a real nginx, the real agent, and clients that send
//! exactly the bytes they are told. The demo and the benchmarks use them too.
//!
//! Nothing here imports a crate of the product: it is known by its binary, its files and its HTTP API.

pub mod agent;
pub mod application;
pub mod foreign;
pub mod http;
pub mod lab;
pub mod nginx;
pub mod process;
pub mod rawtcp;
pub mod scenarios;
pub mod servers;
pub mod site;
pub mod systemd;
pub mod tun;
