use crate::order::{Item, Order};

const CUSTOMERS: [(&str, &str, &str, &str); 8] = [
    ("ÅSGAT", "Åsgatan Livs", "Göteborg", "Sweden"),
    ("BRIEN", "O'Brien & Sons", "Cork", "Ireland"),
    ("CAFEM", "Café Müller", "Zürich", "Switzerland"),
    ("DOLCE", "Dolce Vita S.p.A.", "Bergamo", "Italy"),
    ("EAGLE", "Eagle Provisions", "Portland", "USA"),
    ("FJORD", "Fjord Delikatesser", "Ålesund", "Norway"),
    ("GUANA", "Guanabara Importados", "São Paulo", "Brazil"),
    ("HIROS", "広島商店", "Hiroshima", "Japan"),
];
const GOODS: [(&str, &str, &str); 6] = [
    ("T-100", "Green tea", "8.40"),
    ("C-210", "Espresso beans", "17.95"),
    ("H-305", "Heather honey", "6.25"),
    ("O-400", "Olive oil, 5 l", "49.90"),
    ("S-512", "Saffron, 10 g", "64.00"),
    ("M-777", "Espresso machine", "2380.00"),
];

/// Makes the same orders for the same seed, as lines of input.
pub(crate) struct Generator {
    state: u64,
    next: u64,
    count: u64,
    seed: u64,
}

impl Generator {
    pub(crate) fn new(count: u64, seed: u64) -> Self {
        Self {
            state: seed,
            next: 0,
            count,
            seed,
        }
    }

    /// SplitMix64: enough for sample data, and the same on every machine.
    fn draw(&mut self, below: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }

    fn order(&mut self) -> Order {
        let (code, company, city, country) = CUSTOMERS[self.draw(8) as usize];
        let branch = self.draw(12) + 1;
        let day = self.next / 40;
        let items = (0..=self.draw(3)).map(|_| self.item()).collect();
        Order {
            order_id: format!("{}-{:06}", self.seed, self.next),
            customer_id: format!("{code}-{branch:02}"),
            company: company.into(),
            placed_at: format!("2026-{:02}-{:02}", day / 28 % 12 + 1, day % 28 + 1),
            ship_city: city.into(),
            ship_country: country.into(),
            freight: rust_decimal::Decimal::new(self.draw(9000) as i64 + 500, 2),
            items,
        }
    }

    fn item(&mut self) -> Item {
        let (sku, name, price) = GOODS[self.draw(6) as usize];
        Item {
            sku: sku.into(),
            name: name.into(),
            quantity: self.draw(12) as u32 + 1,
            unit_price: price.parse().unwrap_or_default(),
            discount: rust_decimal::Decimal::new([0, 0, 0, 5, 15, 25][self.draw(6) as usize], 2),
        }
    }
}

impl Iterator for Generator {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        if self.next == self.count {
            return None;
        }
        let order = self.order();
        self.next += 1;
        serde_json::to_string(&order).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_valid_orders() {
        let lines: Vec<_> = Generator::new(500, 7).collect();
        assert_eq!(lines, Generator::new(500, 7).collect::<Vec<_>>());
        assert_ne!(lines, Generator::new(500, 8).collect::<Vec<_>>());
        let orders: Vec<_> = lines
            .iter()
            .map(|line| Order::from_line(line).unwrap())
            .collect();
        let ids: std::collections::BTreeSet<_> = orders.iter().map(|o| &o.order_id).collect();
        assert_eq!(ids.len(), 500);
    }
}
