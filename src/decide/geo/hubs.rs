//! Where networks meet: cities at which cables land or countries exchange their traffic.
//!
//! Chosen by two rules: a city where a trunk begins, ends or forks on the public maps of cables (TeleGeography's submarine
//! cable map, the ITU's transmission map), and at least one in each country or island group that has a network of its own.
//! Coordinates are those of the city's centre. This is a table of facts: what lies between hubs is `super::fitted`.

use crate::wire::session::GeoPoint;

/// A city where networks meet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hub {
    /// Its name in this model: the airport's or the city's code of three letters.
    pub code: &'static str,
    /// Where it is.
    pub point: GeoPoint,
}

const fn hub(code: &'static str, latitude: f64, longitude: f64) -> Hub {
    Hub { code, point: GeoPoint { latitude, longitude } }
}

/// All hubs.
#[expect(clippy::approx_constant, reason = "Kuala Lumpur lies at 3.14 degrees north")]
#[rustfmt::skip]
pub const HUBS: &[Hub] = &[
    // North America
    hub("ANC", 61.22, -149.9), // Anchorage
    hub("HNL", 21.31, -157.86), // Honolulu
    hub("SEA", 47.61, -122.33), // Seattle
    hub("POR", 45.52, -122.68), // Portland
    hub("VAN", 49.28, -123.12), // Vancouver
    hub("YYC", 51.05, -114.07), // Calgary
    hub("YWG", 49.9, -97.14), // Winnipeg
    hub("SJC", 37.34, -121.89), // San Jose
    hub("LAX", 34.05, -118.24), // Los Angeles
    hub("PHX", 33.45, -112.07), // Phoenix
    hub("SLC", 40.76, -111.89), // Salt Lake City
    hub("DEN", 39.74, -104.99), // Denver
    hub("DFW", 32.78, -96.8), // Dallas
    hub("MCI", 39.1, -94.58), // Kansas City
    hub("MSP", 44.98, -93.27), // Minneapolis
    hub("CHI", 41.88, -87.63), // Chicago
    hub("ATL", 33.75, -84.39), // Atlanta
    hub("MIA", 25.76, -80.19), // Miami
    hub("IAD", 39.04, -77.49), // Ashburn
    hub("NYC", 40.71, -74.01), // New York
    hub("YYZ", 43.65, -79.38), // Toronto
    hub("YUL", 45.5, -73.57), // Montreal
    hub("YHZ", 44.65, -63.58), // Halifax
    // Latin America and the Caribbean
    hub("MTY", 25.67, -100.31), // Monterrey
    hub("MEX", 19.43, -99.13), // Mexico City
    hub("GUA", 14.63, -90.51), // Guatemala City
    hub("SJO", 9.93, -84.08), // San José, Costa Rica
    hub("PTY", 8.98, -79.52), // Panama City
    hub("CUN", 21.16, -86.85), // Cancun
    hub("HAV", 23.11, -82.37), // Havana
    hub("KIN", 18.02, -76.8), // Kingston
    hub("SDQ", 18.47, -69.9), // Santo Domingo
    hub("SJU", 18.47, -66.11), // San Juan
    hub("POS", 10.65, -61.51), // Port of Spain
    hub("BAQ", 10.4, -75.5), // Cartagena
    hub("BOG", 4.71, -74.07), // Bogota
    hub("CCS", 10.48, -66.9), // Caracas
    hub("GYE", -2.17, -79.92), // Guayaquil
    hub("LIM", -12.05, -77.04), // Lima
    hub("LPB", -16.49, -68.15), // La Paz
    hub("SCL", -33.45, -70.67), // Santiago
    hub("EZE", -34.6, -58.38), // Buenos Aires
    hub("MVD", -34.9, -56.16), // Montevideo
    hub("ASU", -25.26, -57.58), // Asuncion
    hub("POA", -30.03, -51.23), // Porto Alegre
    hub("SAO", -23.55, -46.63), // Sao Paulo
    hub("RIO", -22.91, -43.17), // Rio de Janeiro
    hub("BSB", -15.79, -47.88), // Brasilia
    hub("FOR", -3.73, -38.53), // Fortaleza
    hub("MAO", -3.12, -60.02), // Manaus
    hub("PBM", 5.85, -55.2), // Paramaribo
    // Europe
    hub("REK", 64.15, -21.94), // Reykjavik
    hub("DUB", 53.35, -6.26), // Dublin
    hub("LON", 51.51, -0.13), // London
    hub("AMS", 52.37, 4.9), // Amsterdam
    hub("PAR", 48.86, 2.35), // Paris
    hub("BOD", 44.84, -0.58), // Bordeaux
    hub("MRS", 43.3, 5.37), // Marseille
    hub("MAD", 40.42, -3.7), // Madrid
    hub("LIS", 38.72, -9.14), // Lisbon
    hub("FRA", 50.11, 8.68), // Frankfurt
    hub("ZRH", 47.38, 8.54), // Zurich
    hub("MIL", 45.46, 9.19), // Milan
    hub("ROM", 41.9, 12.5), // Rome
    hub("PMO", 38.12, 13.36), // Palermo
    hub("VIE", 48.21, 16.37), // Vienna
    hub("BER", 52.52, 13.41), // Berlin
    hub("CPH", 55.68, 12.57), // Copenhagen
    hub("OSL", 59.91, 10.75), // Oslo
    hub("STO", 59.33, 18.07), // Stockholm
    hub("HEL", 60.17, 24.94), // Helsinki
    hub("RIX", 56.95, 24.11), // Riga
    hub("WAW", 52.23, 21.01), // Warsaw
    hub("PRG", 50.08, 14.44), // Prague
    hub("BUD", 47.5, 19.04), // Budapest
    hub("BEG", 44.79, 20.45), // Belgrade
    hub("BUC", 44.43, 26.1), // Bucharest
    hub("SOF", 42.7, 23.32), // Sofia
    hub("ATH", 37.98, 23.73), // Athens
    hub("IST", 41.01, 28.98), // Istanbul
    hub("ANK", 39.93, 32.86), // Ankara
    hub("KBP", 50.45, 30.52), // Kyiv
    hub("MSQ", 53.9, 27.57), // Minsk
    // Russia, Central Asia and the Caucasus
    hub("MOW", 55.76, 37.62), // Moscow
    hub("LED", 59.93, 30.34), // Saint Petersburg
    hub("ROV", 47.24, 39.7), // Rostov
    hub("SVX", 56.84, 60.6), // Yekaterinburg
    hub("OVB", 55.03, 82.92), // Novosibirsk
    hub("IKT", 52.29, 104.28), // Irkutsk
    hub("KHV", 48.48, 135.07), // Khabarovsk
    hub("ULN", 47.92, 106.91), // Ulaanbaatar
    hub("NQZ", 51.16, 71.45), // Astana
    hub("ALA", 43.24, 76.89), // Almaty
    hub("TAS", 41.3, 69.24), // Tashkent
    hub("DYU", 38.56, 68.77), // Dushanbe
    hub("ASB", 37.95, 58.38), // Ashgabat
    hub("GYD", 40.41, 49.87), // Baku
    hub("TBS", 41.72, 44.78), // Tbilisi
    hub("EVN", 40.18, 44.51), // Yerevan
    // The Near East
    hub("LCA", 34.92, 33.62), // Larnaca
    hub("TLV", 32.08, 34.78), // Tel Aviv
    hub("BEY", 33.89, 35.5), // Beirut
    hub("AMM", 31.95, 35.93), // Amman
    hub("BGW", 33.31, 44.37), // Baghdad
    hub("THR", 35.69, 51.39), // Tehran
    hub("KWI", 29.38, 47.98), // Kuwait
    hub("RUH", 24.71, 46.68), // Riyadh
    hub("JED", 21.49, 39.19), // Jeddah
    hub("BAH", 26.23, 50.58), // Bahrain
    hub("DXB", 25.2, 55.27), // Dubai
    hub("MCT", 23.59, 58.38), // Muscat
    hub("ADE", 12.79, 45.02), // Aden
    // South Asia
    hub("KBL", 34.53, 69.17), // Kabul
    hub("LHE", 31.55, 74.34), // Lahore
    hub("KHI", 24.86, 67.01), // Karachi
    hub("BOM", 19.08, 72.88), // Mumbai
    hub("DEL", 28.61, 77.21), // Delhi
    hub("MAA", 13.08, 80.27), // Chennai
    hub("HYD", 17.39, 78.49), // Hyderabad
    hub("CCU", 22.57, 88.36), // Kolkata
    hub("CMB", 6.93, 79.85), // Colombo
    hub("MLE", 4.18, 73.51), // Male
    hub("DAC", 23.81, 90.41), // Dhaka
    hub("KTM", 27.72, 85.32), // Kathmandu
    // South-East and East Asia
    hub("RGN", 16.84, 96.17), // Yangon
    hub("BKK", 13.76, 100.5), // Bangkok
    hub("PNH", 11.56, 104.92), // Phnom Penh
    hub("SGN", 10.82, 106.63), // Ho Chi Minh City
    hub("HAN", 21.03, 105.85), // Hanoi
    hub("KUL", 3.14, 101.69), // Kuala Lumpur
    hub("SIN", 1.35, 103.82), // Singapore
    hub("JKT", -6.21, 106.85), // Jakarta
    hub("SUB", -7.26, 112.75), // Surabaya
    hub("BKI", 5.98, 116.07), // Kota Kinabalu
    hub("MNL", 14.6, 120.98), // Manila
    hub("HKG", 22.32, 114.17), // Hong Kong
    hub("TPE", 25.03, 121.57), // Taipei
    hub("SHA", 31.23, 121.47), // Shanghai
    hub("BJS", 39.9, 116.41), // Beijing
    hub("CTU", 30.57, 104.07), // Chengdu
    hub("URC", 43.83, 87.62), // Urumqi
    hub("SEL", 37.57, 126.98), // Seoul
    hub("PUS", 35.18, 129.08), // Busan
    hub("TYO", 35.68, 139.69), // Tokyo
    hub("OSA", 34.69, 135.5), // Osaka
    hub("SPK", 43.06, 141.35), // Sapporo
    hub("OKA", 26.21, 127.68), // Okinawa
    // Oceania
    hub("GUM", 13.44, 144.79), // Guam
    hub("DRW", -12.46, 130.84), // Darwin
    hub("PER", -31.95, 115.86), // Perth
    hub("ADL", -34.93, 138.6), // Adelaide
    hub("MEL", -37.81, 144.96), // Melbourne
    hub("SYD", -33.87, 151.21), // Sydney
    hub("BNE", -27.47, 153.03), // Brisbane
    hub("AKL", -36.85, 174.76), // Auckland
    hub("NOU", -22.27, 166.46), // Noumea
    hub("SUV", -18.14, 178.44), // Suva
    hub("APW", -13.83, -171.76), // Apia
    hub("PPT", -17.54, -149.57), // Papeete
    hub("POM", -9.44, 147.18), // Port Moresby
    // Africa
    hub("LPA", 28.12, -15.43), // Las Palmas
    hub("CMN", 33.57, -7.59), // Casablanca
    hub("ALG", 36.75, 3.06), // Algiers
    hub("TUN", 36.81, 10.18), // Tunis
    hub("TIP", 32.89, 13.19), // Tripoli
    hub("CAI", 30.04, 31.24), // Cairo
    hub("KRT", 15.5, 32.56), // Khartoum
    hub("JIB", 11.59, 43.15), // Djibouti
    hub("ADD", 9.03, 38.74), // Addis Ababa
    hub("MGQ", 2.05, 45.32), // Mogadishu
    hub("MBA", -4.04, 39.67), // Mombasa
    hub("NBO", -1.29, 36.82), // Nairobi
    hub("EBB", 0.35, 32.58), // Kampala
    hub("KGL", -1.95, 30.06), // Kigali
    hub("DAR", -6.79, 39.21), // Dar es Salaam
    hub("LUN", -15.39, 28.32), // Lusaka
    hub("HRE", -17.83, 31.05), // Harare
    hub("MPM", -25.97, 32.57), // Maputo
    hub("JNB", -26.2, 28.05), // Johannesburg
    hub("CPT", -33.92, 18.42), // Cape Town
    hub("WDH", -22.56, 17.07), // Windhoek
    hub("GBE", -24.65, 25.91), // Gaborone
    hub("TNR", -18.88, 47.51), // Antananarivo
    hub("MRU", -20.16, 57.5), // Mauritius
    hub("SEZ", -4.62, 55.45), // Seychelles
    hub("LAD", -8.84, 13.23), // Luanda
    hub("FIH", -4.32, 15.31), // Kinshasa
    hub("LBV", 0.39, 9.45), // Libreville
    hub("DLA", 4.05, 9.7), // Douala
    hub("NDJ", 12.13, 15.06), // N'Djamena
    hub("LOS", 6.52, 3.38), // Lagos
    hub("NIM", 13.51, 2.11), // Niamey
    hub("ACC", 5.56, -0.2), // Accra
    hub("ABJ", 5.32, -4.02), // Abidjan
    hub("OUA", 12.37, -1.52), // Ouagadougou
    hub("BKO", 12.64, -8.0), // Bamako
    hub("FNA", 8.48, -13.23), // Freetown
    hub("DKR", 14.69, -17.45), // Dakar
    hub("NKC", 18.08, -15.98), // Nouakchott
];
