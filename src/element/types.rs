//! Abstract data types, semantics and units of Information Elements, as IANA registers them.
//!
//! A type says how to print a value, never how long it is on the wire: lengths come from templates.

macro_rules! registered {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $label:literal,)+ }) => {
        $(#[$doc])*
        #[repr(u8)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant,)+ }

        impl $name {
            /// All of them, in the order of their registered number.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The registered name.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label),+ }
            }
        }
    };
}

registered! {
    /// Abstract data type (RFC 7012 section 3.1); the number is that of the IANA registry.
    DataType {
        /// Octets without a meaning of their own.
        OctetArray = "octetArray",
        /// 0 to 2^8-1.
        Unsigned8 = "unsigned8",
        /// 0 to 2^16-1.
        Unsigned16 = "unsigned16",
        /// 0 to 2^32-1.
        Unsigned32 = "unsigned32",
        /// 0 to 2^64-1.
        Unsigned64 = "unsigned64",
        /// -2^7 to 2^7-1.
        Signed8 = "signed8",
        /// -2^15 to 2^15-1.
        Signed16 = "signed16",
        /// -2^31 to 2^31-1.
        Signed32 = "signed32",
        /// -2^63 to 2^63-1.
        Signed64 = "signed64",
        /// IEEE single precision.
        Float32 = "float32",
        /// IEEE double precision.
        Float64 = "float64",
        /// 1 is true, 2 is false.
        Boolean = "boolean",
        /// Six octets.
        MacAddress = "macAddress",
        /// UTF-8.
        String = "string",
        /// Unix seconds.
        DateTimeSeconds = "dateTimeSeconds",
        /// Unix milliseconds.
        DateTimeMilliseconds = "dateTimeMilliseconds",
        /// NTP format, the fraction cut to microseconds.
        DateTimeMicroseconds = "dateTimeMicroseconds",
        /// NTP format.
        DateTimeNanoseconds = "dateTimeNanoseconds",
        /// Four octets.
        Ipv4Address = "ipv4Address",
        /// Sixteen octets.
        Ipv6Address = "ipv6Address",
        /// RFC 6313: values of one element.
        BasicList = "basicList",
        /// RFC 6313: records of one template.
        SubTemplateList = "subTemplateList",
        /// RFC 6313: records of several templates.
        SubTemplateMultiList = "subTemplateMultiList",
        /// 0 to 2^256-1.
        Unsigned256 = "unsigned256",
    }
}

impl DataType {
    /// The type with this number in the IANA registry (RFC 5610 informationElementDataType 339).
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }
}

registered! {
    /// What a value means beyond its type (RFC 7012 section 3.2).
    Semantics {
        /// Nothing special.
        Default = "default",
        /// A measured value.
        Quantity = "quantity",
        /// Count since the flow or the process began.
        TotalCounter = "totalCounter",
        /// Count since the last report.
        DeltaCounter = "deltaCounter",
        /// A number that names something.
        Identifier = "identifier",
        /// A set of bits.
        Flags = "flags",
        /// RFC 6313 structured data.
        List = "list",
        /// Counter of a MIB.
        SnmpCounter = "snmpCounter",
        /// Gauge of a MIB.
        SnmpGauge = "snmpGauge",
    }
}

registered! {
    /// Unit of a value.
    Units {
        /// Without a unit.
        None = "none",
        /// Bits.
        Bits = "bits",
        /// Octets.
        Octets = "octets",
        /// Packets.
        Packets = "packets",
        /// Flows.
        Flows = "flows",
        /// Seconds.
        Seconds = "seconds",
        /// Milliseconds.
        Milliseconds = "milliseconds",
        /// Microseconds.
        Microseconds = "microseconds",
        /// Nanoseconds.
        Nanoseconds = "nanoseconds",
        /// Words of 32 bits.
        FourOctetWords = "4-octet words",
        /// Messages.
        Messages = "messages",
        /// Hops.
        Hops = "hops",
        /// Entries of a stack or list.
        Entries = "entries",
        /// Frames of layer 2.
        Frames = "frames",
        /// Transport ports.
        Ports = "ports",
        /// That of the element which this one speaks about.
        Inferred = "inferred",
    }
}

#[cfg(test)]
mod tests {
    use super::super::table_parse::{DATA_TYPES, SEMANTICS, UNITS};
    use super::*;

    #[test]
    fn the_generator_and_the_enums_know_the_same_words() {
        fn same(generator: &[(&str, &str)], enums: impl Iterator<Item = (&'static str, String)>) {
            let enums: Vec<(&str, String)> = enums.collect();
            let generator: Vec<(&str, String)> = generator.iter().map(|(l, v)| (*l, (*v).to_owned())).collect();
            assert_eq!(generator, enums);
        }
        same(&DATA_TYPES, DataType::ALL.iter().map(|v| (v.label(), format!("{v:?}"))));
        same(&SEMANTICS, Semantics::ALL.iter().map(|v| (v.label(), format!("{v:?}"))));
        same(&UNITS, Units::ALL.iter().map(|v| (v.label(), format!("{v:?}"))));
    }

    #[test]
    fn codes_are_those_of_the_registry() {
        assert_eq!(DataType::from_code(0), Some(DataType::OctetArray));
        assert_eq!(DataType::from_code(13), Some(DataType::String));
        assert_eq!(DataType::from_code(19), Some(DataType::Ipv6Address));
        assert_eq!(DataType::from_code(23), Some(DataType::Unsigned256));
        assert_eq!(DataType::from_code(24), None);
    }
}
