//! Where the regions of public clouds are, so that `region: europe-north1` needs no coordinates.
//!
//! Source: the lists of regions that Google Cloud, Amazon Web Services and Microsoft Azure publish, each with a city,
//! a metropolitan area, or at least a state or country. The coordinates are those of that city's centre, to two
//! decimals. Accuracy: where the provider names a city, the data centres lie within some 50 km of it; where it names
//! only a state or country (Azure's `centralus`, AWS's `us-west-1`, and the like) the place is the city commonly
//! given for it, and may be off by 200 km. Regions that only governments may use are left out.
//!
//! This is a table of facts: it decides nothing, and must not grow guesses for names that it does not hold.

/// Who runs a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Provider {
    /// Google Cloud.
    Google,
    /// Amazon Web Services.
    Aws,
    /// Microsoft Azure.
    Azure,
}

/// A region of a public cloud.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CloudRegion {
    /// The provider's name of it; no two providers share one.
    pub name: &'static str,
    /// Who runs it.
    pub provider: Provider,
    /// City or metropolitan area.
    pub place: &'static str,
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
}

/// The region of this name, if it is one of a public cloud.
pub fn lookup(name: &str) -> Option<&'static CloudRegion> {
    REGIONS.binary_search_by(|region| region.name.cmp(name)).ok().and_then(|found| REGIONS.get(found))
}

/// All known regions, by name.
pub fn all() -> &'static [CloudRegion] {
    REGIONS
}

use Provider::{Aws, Azure, Google};

const fn at(name: &'static str, provider: Provider, place: &'static str, latitude: f64, longitude: f64) -> CloudRegion {
    CloudRegion { name, provider, place, latitude, longitude }
}

/// Sorted by name: looked up by bisection.
#[expect(clippy::approx_constant, reason = "Kuala Lumpur lies at 3.14 degrees north")]
#[rustfmt::skip]
const REGIONS: &[CloudRegion] = &[
    at("af-south-1", Aws, "Cape Town, South Africa", -33.92, 18.42),
    at("africa-south1", Google, "Johannesburg, South Africa", -26.2, 28.05),
    at("ap-east-1", Aws, "Hong Kong", 22.32, 114.17),
    at("ap-east-2", Aws, "Taipei, Taiwan", 25.03, 121.57),
    at("ap-northeast-1", Aws, "Tokyo, Japan", 35.68, 139.69),
    at("ap-northeast-2", Aws, "Seoul, South Korea", 37.57, 126.98),
    at("ap-northeast-3", Aws, "Osaka, Japan", 34.69, 135.5),
    at("ap-south-1", Aws, "Mumbai, India", 19.08, 72.88),
    at("ap-south-2", Aws, "Hyderabad, India", 17.39, 78.49),
    at("ap-southeast-1", Aws, "Singapore", 1.35, 103.82),
    at("ap-southeast-2", Aws, "Sydney, Australia", -33.87, 151.21),
    at("ap-southeast-3", Aws, "Jakarta, Indonesia", -6.21, 106.85),
    at("ap-southeast-4", Aws, "Melbourne, Australia", -37.81, 144.96),
    at("ap-southeast-5", Aws, "Kuala Lumpur, Malaysia", 3.14, 101.69),
    at("ap-southeast-6", Aws, "Auckland, New Zealand", -36.85, 174.76),
    at("ap-southeast-7", Aws, "Bangkok, Thailand", 13.76, 100.5),
    at("asia-east1", Google, "Changhua County, Taiwan", 24.05, 120.52),
    at("asia-east2", Google, "Hong Kong", 22.32, 114.17),
    at("asia-northeast1", Google, "Tokyo, Japan", 35.68, 139.69),
    at("asia-northeast2", Google, "Osaka, Japan", 34.69, 135.5),
    at("asia-northeast3", Google, "Seoul, South Korea", 37.57, 126.98),
    at("asia-south1", Google, "Mumbai, India", 19.08, 72.88),
    at("asia-south2", Google, "Delhi, India", 28.61, 77.21),
    at("asia-southeast1", Google, "Jurong West, Singapore", 1.34, 103.71),
    at("asia-southeast2", Google, "Jakarta, Indonesia", -6.21, 106.85),
    at("australia-southeast1", Google, "Sydney, Australia", -33.87, 151.21),
    at("australia-southeast2", Google, "Melbourne, Australia", -37.81, 144.96),
    at("australiacentral", Azure, "Canberra, Australia", -35.28, 149.13),
    at("australiacentral2", Azure, "Canberra, Australia", -35.28, 149.13),
    at("australiaeast", Azure, "Sydney, Australia", -33.87, 151.21),
    at("australiasoutheast", Azure, "Melbourne, Australia", -37.81, 144.96),
    at("austriaeast", Azure, "Vienna, Austria", 48.21, 16.37),
    at("brazilsouth", Azure, "Sao Paulo, Brazil", -23.55, -46.63),
    at("brazilsoutheast", Azure, "Rio de Janeiro, Brazil", -22.91, -43.17),
    at("ca-central-1", Aws, "Montreal, Canada", 45.5, -73.57),
    at("ca-west-1", Aws, "Calgary, Canada", 51.05, -114.07),
    at("canadacentral", Azure, "Toronto, Canada", 43.65, -79.38),
    at("canadaeast", Azure, "Quebec City, Canada", 46.81, -71.21),
    at("centralindia", Azure, "Pune, India", 18.52, 73.86),
    at("centralus", Azure, "Des Moines, Iowa", 41.59, -93.62),
    at("chilecentral", Azure, "Santiago, Chile", -33.45, -70.67),
    at("cn-north-1", Aws, "Beijing, China", 39.9, 116.41),
    at("cn-northwest-1", Aws, "Zhongwei, Ningxia, China", 37.5, 105.19),
    at("eastasia", Azure, "Hong Kong", 22.32, 114.17),
    at("eastus", Azure, "Washington, Virginia", 38.71, -78.16),
    at("eastus2", Azure, "Boydton, Virginia", 36.67, -78.39),
    at("eu-central-1", Aws, "Frankfurt, Germany", 50.11, 8.68),
    at("eu-central-2", Aws, "Zurich, Switzerland", 47.38, 8.54),
    at("eu-north-1", Aws, "Stockholm, Sweden", 59.33, 18.07),
    at("eu-south-1", Aws, "Milan, Italy", 45.46, 9.19),
    at("eu-south-2", Aws, "Zaragoza, Spain", 41.65, -0.89),
    at("eu-west-1", Aws, "Dublin, Ireland", 53.35, -6.26),
    at("eu-west-2", Aws, "London, England", 51.51, -0.13),
    at("eu-west-3", Aws, "Paris, France", 48.86, 2.35),
    at("europe-central2", Google, "Warsaw, Poland", 52.23, 21.01),
    at("europe-north1", Google, "Hamina, Finland", 60.57, 27.2),
    at("europe-north2", Google, "Stockholm, Sweden", 59.33, 18.07),
    at("europe-southwest1", Google, "Madrid, Spain", 40.42, -3.7),
    at("europe-west1", Google, "St. Ghislain, Belgium", 50.45, 3.82),
    at("europe-west10", Google, "Berlin, Germany", 52.52, 13.41),
    at("europe-west12", Google, "Turin, Italy", 45.07, 7.69),
    at("europe-west2", Google, "London, England", 51.51, -0.13),
    at("europe-west3", Google, "Frankfurt, Germany", 50.11, 8.68),
    at("europe-west4", Google, "Eemshaven, Netherlands", 53.44, 6.84),
    at("europe-west6", Google, "Zurich, Switzerland", 47.38, 8.54),
    at("europe-west8", Google, "Milan, Italy", 45.46, 9.19),
    at("europe-west9", Google, "Paris, France", 48.86, 2.35),
    at("francecentral", Azure, "Paris, France", 48.86, 2.35),
    at("francesouth", Azure, "Marseille, France", 43.3, 5.37),
    at("germanynorth", Azure, "Berlin, Germany", 52.52, 13.41),
    at("germanywestcentral", Azure, "Frankfurt, Germany", 50.11, 8.68),
    at("il-central-1", Aws, "Tel Aviv, Israel", 32.09, 34.78),
    at("indonesiacentral", Azure, "Jakarta, Indonesia", -6.21, 106.85),
    at("israelcentral", Azure, "Tel Aviv, Israel", 32.09, 34.78),
    at("italynorth", Azure, "Milan, Italy", 45.46, 9.19),
    at("japaneast", Azure, "Tokyo, Japan", 35.68, 139.69),
    at("japanwest", Azure, "Osaka, Japan", 34.69, 135.5),
    at("jioindiacentral", Azure, "Nagpur, India", 21.15, 79.09),
    at("jioindiawest", Azure, "Jamnagar, India", 22.47, 70.06),
    at("koreacentral", Azure, "Seoul, South Korea", 37.57, 126.98),
    at("koreasouth", Azure, "Busan, South Korea", 35.18, 129.08),
    at("malaysiawest", Azure, "Kuala Lumpur, Malaysia", 3.14, 101.69),
    at("me-central-1", Aws, "Dubai, United Arab Emirates", 25.2, 55.27),
    at("me-central1", Google, "Doha, Qatar", 25.29, 51.53),
    at("me-central2", Google, "Dammam, Saudi Arabia", 26.42, 50.09),
    at("me-south-1", Aws, "Manama, Bahrain", 26.23, 50.59),
    at("me-west1", Google, "Tel Aviv, Israel", 32.09, 34.78),
    at("mexicocentral", Azure, "Queretaro, Mexico", 20.59, -100.39),
    at("mx-central-1", Aws, "Queretaro, Mexico", 20.59, -100.39),
    at("newzealandnorth", Azure, "Auckland, New Zealand", -36.85, 174.76),
    at("northamerica-northeast1", Google, "Montreal, Canada", 45.5, -73.57),
    at("northamerica-northeast2", Google, "Toronto, Canada", 43.65, -79.38),
    at("northamerica-south1", Google, "Queretaro, Mexico", 20.59, -100.39),
    at("northcentralus", Azure, "Chicago, Illinois", 41.88, -87.63),
    at("northeurope", Azure, "Dublin, Ireland", 53.35, -6.26),
    at("norwayeast", Azure, "Oslo, Norway", 59.91, 10.75),
    at("norwaywest", Azure, "Stavanger, Norway", 58.97, 5.73),
    at("polandcentral", Azure, "Warsaw, Poland", 52.23, 21.01),
    at("qatarcentral", Azure, "Doha, Qatar", 25.29, 51.53),
    at("sa-east-1", Aws, "Sao Paulo, Brazil", -23.55, -46.63),
    at("southafricanorth", Azure, "Johannesburg, South Africa", -26.2, 28.05),
    at("southafricawest", Azure, "Cape Town, South Africa", -33.92, 18.42),
    at("southamerica-east1", Google, "Osasco, Sao Paulo, Brazil", -23.53, -46.79),
    at("southamerica-west1", Google, "Santiago, Chile", -33.45, -70.67),
    at("southcentralus", Azure, "San Antonio, Texas", 29.42, -98.49),
    at("southeastasia", Azure, "Singapore", 1.35, 103.82),
    at("southindia", Azure, "Chennai, India", 13.08, 80.27),
    at("spaincentral", Azure, "Madrid, Spain", 40.42, -3.7),
    at("swedencentral", Azure, "Gavle, Sweden", 60.67, 17.14),
    at("switzerlandnorth", Azure, "Zurich, Switzerland", 47.38, 8.54),
    at("switzerlandwest", Azure, "Geneva, Switzerland", 46.2, 6.14),
    at("uaecentral", Azure, "Abu Dhabi, United Arab Emirates", 24.45, 54.38),
    at("uaenorth", Azure, "Dubai, United Arab Emirates", 25.2, 55.27),
    at("uksouth", Azure, "London, England", 51.51, -0.13),
    at("ukwest", Azure, "Cardiff, Wales", 51.48, -3.18),
    at("us-central1", Google, "Council Bluffs, Iowa", 41.26, -95.86),
    at("us-east-1", Aws, "Ashburn, Virginia", 39.04, -77.49),
    at("us-east-2", Aws, "Columbus, Ohio", 39.96, -83.0),
    at("us-east1", Google, "Moncks Corner, South Carolina", 33.2, -80.01),
    at("us-east4", Google, "Ashburn, Virginia", 39.04, -77.49),
    at("us-east5", Google, "Columbus, Ohio", 39.96, -83.0),
    at("us-south1", Google, "Dallas, Texas", 32.78, -96.8),
    at("us-west-1", Aws, "San Jose, California", 37.34, -121.89),
    at("us-west-2", Aws, "Boardman, Oregon", 45.84, -119.7),
    at("us-west1", Google, "The Dalles, Oregon", 45.59, -121.18),
    at("us-west2", Google, "Los Angeles, California", 34.05, -118.24),
    at("us-west3", Google, "Salt Lake City, Utah", 40.76, -111.89),
    at("us-west4", Google, "Las Vegas, Nevada", 36.17, -115.14),
    at("westcentralus", Azure, "Cheyenne, Wyoming", 41.14, -104.82),
    at("westeurope", Azure, "Amsterdam, Netherlands", 52.37, 4.9),
    at("westindia", Azure, "Mumbai, India", 19.08, 72.88),
    at("westus", Azure, "San Francisco, California", 37.77, -122.42),
    at("westus2", Azure, "Quincy, Washington", 47.23, -119.85),
    at("westus3", Azure, "Phoenix, Arizona", 33.45, -112.07),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::geo::distance_km;
    use crate::wire::session::GeoPoint;

    fn point(name: &str) -> GeoPoint {
        let region = lookup(name).unwrap_or_else(|| panic!("{name} is in the catalogue"));
        GeoPoint { latitude: region.latitude, longitude: region.longitude }
    }

    #[test]
    fn the_catalogue_is_sorted_unique_and_large() {
        assert!(REGIONS.is_sorted_by(|a, b| a.name < b.name));
        assert!(REGIONS.len() >= 130, "{}", REGIONS.len());
        for provider in [Google, Aws, Azure] {
            assert!(REGIONS.iter().filter(|region| region.provider == provider).count() >= 30, "{provider:?}");
        }
    }

    #[test]
    fn every_region_has_a_name_that_a_pool_may_carry_and_lies_on_earth() {
        for region in REGIONS {
            assert!(region.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
            assert!((1..=63).contains(&region.name.len()) && !region.place.is_empty());
            assert!((-60.0..=70.0).contains(&region.latitude), "{}", region.name);
            assert!((-180.0..=180.0).contains(&region.longitude), "{}", region.name);
            assert_eq!(lookup(region.name), Some(region));
        }
    }

    #[test]
    fn names_that_are_not_there_are_not_guessed() {
        for name in ["", "europe", "europe-north", "europe-north1 ", "EUROPE-NORTH1", "eu-west-11", "on-premises"] {
            assert_eq!(lookup(name), None, "{name}");
        }
    }

    #[test]
    fn the_same_city_stands_at_the_same_place_with_every_provider() {
        for (one, other) in [
            ("asia-northeast1", "ap-northeast-1"),
            ("asia-northeast1", "japaneast"),
            ("europe-west3", "eu-central-1"),
            ("europe-west2", "uksouth"),
            ("us-east4", "us-east-1"),
            ("africa-south1", "southafricanorth"),
        ] {
            assert!(distance_km(point(one), point(other)) < 1.0, "{one} and {other}");
        }
    }

    #[test]
    fn distances_between_regions_are_those_of_an_atlas() {
        for (one, other, km) in [
            ("asia-northeast1", "europe-west2", 9_560.0),        // Tokyo – London
            ("us-east4", "eu-west-1", 5_450.0),                  // Ashburn – Dublin
            ("southamerica-east1", "us-east1", 7_200.0),         // São Paulo – Moncks Corner
            ("asia-south1", "europe-north1", 5_700.0),           // Mumbai – Hamina
            ("australia-southeast1", "ap-southeast-6", 2_155.0), // Sydney – Auckland
            ("af-south-1", "africa-south1", 1_265.0),            // Cape Town – Johannesburg
        ] {
            let measured = distance_km(point(one), point(other));
            assert!((measured - km).abs() < km * 0.03, "{one} to {other}: {measured}");
        }
    }
}
