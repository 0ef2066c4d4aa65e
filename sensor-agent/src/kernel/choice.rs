//! How the programs are to be attached, as the configuration says it.

use std::str::FromStr;

macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$help:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub(crate) enum $name { #[default] $($(#[$help])* $variant,)* }

        impl FromStr for $name {
            type Err = ();

            fn from_str(text: &str) -> Result<Self, ()> {
                match text {
                    $($text => Ok(Self::$variant),)*
                    _ => Err(()),
                }
            }
        }
    };
}

choice! {
    /// How XDP is to be attached.
    XdpChoice {
        /// Native where it serves, generic elsewhere.
        Auto = "auto",
        /// In the driver, or not at all.
        Native = "native",
        /// In the stack's generic hook.
        Generic = "generic",
        /// Not at all: nothing is ever dropped.
        Off = "off",
    }
}

choice! {
    /// How the tap is to be attached.
    TapChoice {
        /// TCX where the kernel has it (6.6 and later), clsact elsewhere.
        Auto = "auto",
        /// By TCX links.
        Tcx = "tcx",
        /// By filters of a clsact qdisc.
        Clsact = "clsact",
    }
}

choice! {
    /// How the process behind a connection is found.
    AttributionChoice {
        /// By watching who accepts connections, and by the kernel's socket tables for those that were not seen.
        Auto = "auto",
        /// By the kernel's socket tables alone.
        SockDiag = "sock_diag",
        /// Not at all.
        Off = "off",
    }
}
