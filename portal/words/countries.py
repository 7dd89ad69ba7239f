"""`COUNTRIES`: capitals, nationalities, languages, currencies and continents."""

from portal.words.table import read_table

COUNTRIES = read_table(
    "country",
    """
country, capital, nationality, language, currency, continent
Afghanistan, Kabul, Afghan, , afghani, Asia
Albania, Tirana, Albanian, Albanian, lek, Europe
Algeria, Algiers, Algerian, Arabic/French/Berber, dinar, Africa
Angola, Luanda, Angolan, Portuguese, kwanza, Africa
Argentina, Buenos Aires, Argentine/Argentinian, Spanish, peso, South America
Armenia, Yerevan, Armenian, Armenian, dram, Asia/Europe
Australia, Canberra, Australian, English, dollar, Oceania
Austria, Vienna, Austrian, German, euro, Europe
Azerbaijan, Baku, Azerbaijani/Azeri, Azerbaijani/Azeri, manat, Asia/Europe
Bahamas, Nassau, Bahamian, English, dollar, North America
Bahrain, Manama, Bahraini, Arabic, dinar, Asia
Bangladesh, Dhaka, Bangladeshi, Bengali/Bangla, taka, Asia
Belarus, Minsk, Belarusian, , ruble, Europe
Belgium, Brussels, Belgian, , euro, Europe
Bolivia, , Bolivian, Spanish, boliviano, South America
Brazil, Brasilia, Brazilian, Portuguese, real, South America
Bulgaria, Sofia, Bulgarian, Bulgarian, , Europe
Cambodia, Phnom Penh, Cambodian, Khmer, riel, Asia
Cameroon, Yaounde, Cameroonian, , franc, Africa
Canada, Ottawa, Canadian, English/French, dollar, North America
Chile, Santiago, Chilean, Spanish, peso, South America
China, Beijing, Chinese, Chinese/Mandarin, yuan/renminbi, Asia
Colombia, Bogota, Colombian, Spanish, peso, South America
Costa Rica, San Jose, , Spanish, colon, North America
Croatia, Zagreb, Croatian, Croatian, euro, Europe
Cuba, Havana, Cuban, Spanish, peso, North America
Czech Republic, Prague, , Czech, koruna, Europe
Denmark, Copenhagen, Danish, Danish/German, krone/krona, Europe
Dominican Republic, Santo Domingo, , Spanish, peso, North America
Ecuador, Quito, Ecuadorian, Spanish, dollar, South America
Egypt, Cairo, Egyptian, Arabic, pound, Africa/Asia
El Salvador, , Salvadoran, Spanish, dollar, North America
Estonia, Tallinn, Estonian, Estonian, euro, Europe
Ethiopia, Addis Ababa, Ethiopian, Amharic, birr, Africa
Fiji, Suva, Fijian, , dollar, Oceania
Finland, Helsinki, Finnish, Finnish/Swedish, euro, Europe
France, Paris, French, French, euro, Europe
Gabon, Libreville, Gabonese, French, franc, Africa
Germany, Berlin, German, German, euro, Europe
Ghana, Accra, Ghanaian, English, cedi, Africa
Greece, Athens, Greek, Greek, euro, Europe
Guatemala, , Guatemalan, Spanish, quetzal, North America
Guyana, Georgetown, Guyanese, English, dollar, South America
Haiti, Port-au-Prince, Haitian, , gourde/dollar, North America
Honduras, Tegucigalpa, Honduran, Spanish, lempira, North America
Hungary, Budapest, Hungarian, Hungarian, forint, Europe
Iceland, Reykjavik, Icelandic, Icelandic, krona/krone, Europe
India, New Delhi, Indian, Hindi/English/Urdu/Nepali/Bengali, rupee, Asia
Indonesia, , Indonesian, Indonesian, rupiah, Asia/Oceania
Iran, Tehran, Iranian/Persian, Persian, rial, Asia
Iraq, Baghdad, Iraqi, Arabic, dinar, Asia
Ireland, Dublin, Irish, English/Irish, euro, Europe
Israel, , Israeli, Hebrew/Arabic, shekel, Asia
Italy, Rome, Italian, Italian/French, euro, Europe
Jamaica, Kingston, Jamaican, English, dollar, North America
Japan, Tokyo, Japanese, Japanese, yen, Asia
Jordan, Amman, Jordanian, Arabic, dinar, Asia
Kazakhstan, Astana, Kazakh/Kazakhstani, Kazakh/Russian, tenge, Asia/Europe
Kenya, Nairobi, Kenyan, , shilling, Africa
Kuwait, , Kuwaiti, Arabic, dinar, Asia
Laos, Vientiane, Laotian/Lao, Lao, kip, Asia
Latvia, Riga, Latvian, Latvian, euro, Europe
Lebanon, Beirut, Lebanese, Arabic/French, pound/lira, Asia
Liberia, Monrovia, Liberian, English, dollar, Africa
Libya, Tripoli, Libyan, Arabic, dinar, Africa
Lithuania, Vilnius, Lithuanian, Lithuanian, euro, Europe
Madagascar, Antananarivo, Malagasy, , ariary, Africa
Malaysia, Kuala Lumpur, Malaysian, Malay/English, ringgit, Asia
Mali, Bamako, Malian, , franc, Africa
Malta, Valletta, Maltese, , euro, Europe
Mexico, , Mexican, Spanish, peso, North America
Moldova, Chisinau, Moldovan, Romanian, leu, Europe
Mongolia, Ulaanbaatar, Mongolian, Mongolian, tugrik, Asia
Montenegro, Podgorica, Montenegrin, , euro, Europe
Morocco, Rabat, Moroccan, Arabic/French/Berber, dirham, Africa
Mozambique, Maputo, Mozambican, Portuguese, metical, Africa
Myanmar, Naypyidaw, Burmese, Burmese, kyat, Asia
Namibia, Windhoek, Namibian, English, dollar/rand, Africa
Nepal, Kathmandu, Nepalese/Nepali, Nepali, rupee, Asia
Netherlands, Amsterdam, Dutch, Dutch, euro, Europe
New Zealand, Wellington, , English, dollar, Oceania
Nicaragua, Managua, Nicaraguan, Spanish, cordoba, North America
Nigeria, Abuja, Nigerian, English, naira, Africa
North Korea, Pyongyang, , Korean, won, Asia
Norway, Oslo, Norwegian, Norwegian, krone/krona, Europe
Oman, Muscat, Omani, Arabic, rial/riyal, Asia
Pakistan, Islamabad, Pakistani, Urdu/English, rupee, Asia
Panama, , Panamanian, Spanish, balboa/dollar, North America
Papua New Guinea, Port Moresby, , , kina, Oceania
Paraguay, Asuncion, Paraguayan, , guarani, South America
Peru, Lima, Peruvian, Spanish, sol, South America
Philippines, Manila, Filipino, , peso, Asia
Poland, Warsaw, Polish, Polish/German, zloty, Europe
Portugal, Lisbon, Portuguese, Portuguese, euro, Europe
Qatar, Doha, Qatari, Arabic, riyal/rial, Asia
Romania, Bucharest, Romanian, Romanian, leu, Europe
Russia, Moscow, Russian, Russian, ruble, Europe/Asia
Rwanda, Kigali, Rwandan, , franc, Africa
Samoa, Apia, Samoan, , tala, Oceania
Saudi Arabia, Riyadh, , Arabic, riyal/rial, Asia
Senegal, Dakar, Senegalese, French, franc, Africa
Serbia, Belgrade, Serbian, Serbian, dinar, Europe
Singapore, , Singaporean, , dollar, Asia
Slovakia, Bratislava, Slovak/Slovakian, Slovak, euro, Europe
Slovenia, Ljubljana, Slovenian/Slovene, Slovenian/Slovene, euro, Europe
Somalia, Mogadishu, Somali, Somali/Arabic, shilling, Africa
South Africa, , , , rand, Africa
South Korea, Seoul, Korean, Korean, won, Asia
Spain, Madrid, Spanish, Spanish, euro, Europe
Sudan, Khartoum, Sudanese, Arabic/English, pound, Africa
Suriname, Paramaribo, Surinamese, Dutch, dollar, South America
Sweden, Stockholm, Swedish, Swedish, krona/krone, Europe
Switzerland, , Swiss, , franc, Europe
Syria, Damascus, Syrian, Arabic, pound/lira, Asia
Tanzania, , Tanzanian, Swahili/English, shilling, Africa
Thailand, Bangkok, Thai, Thai, baht, Asia
Togo, Lome, Togolese, French, franc, Africa
Tunisia, Tunis, Tunisian, Arabic/French, dinar, Africa
Turkey, Ankara, Turkish, Turkish, lira, Asia/Europe
Uganda, Kampala, Ugandan, , shilling, Africa
Ukraine, Kyiv, Ukrainian, Ukrainian/Russian, hryvnia, Europe
United Arab Emirates, Abu Dhabi, Emirati, Arabic, dirham, Asia
United Kingdom, London, British, English, pound, Europe
United States, Washington, American, English/Spanish, dollar, North America
Uruguay, Montevideo, Uruguayan, Spanish, peso, South America
Venezuela, Caracas, Venezuelan, Spanish, bolivar, South America
Vietnam, Hanoi, Vietnamese, Vietnamese, dong, Asia
Yemen, , Yemeni, Arabic, rial/riyal, Asia
Zambia, Lusaka, Zambian, English, kwacha, Africa
Zimbabwe, Harare, Zimbabwean, , , Africa
""",
)
"""A field is empty where the answer is disputed, has two forms of one rank, or is part of the name."""
