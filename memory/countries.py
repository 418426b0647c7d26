"""Adjectives of countries and the countries: whoever asks for the Turkish capital asks about Turkey.

A closed list, because no rule tells them from people's names: "Julian" is nothing of "Julia". Left out is what is said
of several ("Dominican", "Congolese", "Korean", "Guinean"), and what means more than a country ("American").
"""

from __future__ import annotations

_NAMED = """
afghan afghanistan, albanian albania, algerian algeria, andorran andorra, angolan angola, argentine argentina,
argentinian argentina, armenian armenia, australian australia, austrian austria, azerbaijani azerbaijan,
bahamian bahamas, bahraini bahrain, bangladeshi bangladesh, barbadian barbados, belarusian belarus, belgian belgium,
belizean belize, beninese benin, bhutanese bhutan, bolivian bolivia, bosnian bosnia, botswanan botswana,
brazilian brazil, british britain, bruneian brunei, bulgarian bulgaria, burmese burma, burundian burundi,
cambodian cambodia, cameroonian cameroon, canadian canada, chadian chad, chilean chile, chinese china,
colombian colombia, croatian croatia, cuban cuba, cypriot cyprus, czech czechia, danish denmark, djiboutian djibouti,
dutch netherlands, ecuadorian ecuador, egyptian egypt, english england, eritrean eritrea, estonian estonia,
ethiopian ethiopia, fijian fiji, filipino philippines, finnish finland, french france, gabonese gabon, gambian gambia,
german germany, ghanaian ghana, greek greece, grenadian grenada, guatemalan guatemala, guyanese guyana, haitian haiti,
honduran honduras, hungarian hungary, icelandic iceland, indian india, indonesian indonesia, iranian iran, iraqi iraq,
irish ireland, israeli israel, italian italy, ivorian ivory, jamaican jamaica, japanese japan, kazakh kazakhstan,
kenyan kenya, kosovan kosovo, kuwaiti kuwait, kyrgyz kyrgyzstan, laotian laos, latvian latvia, lebanese lebanon,
liberian liberia, libyan libya, lithuanian lithuania, macedonian macedonia, malagasy madagascar, malawian malawi,
malaysian malaysia, maldivian maldives, malian mali, maltese malta, mauritanian mauritania, mauritian mauritius,
mexican mexico, moldovan moldova, mongolian mongolia, montenegrin montenegro, moroccan morocco, mozambican mozambique,
namibian namibia, nepalese nepal, nepali nepal, nicaraguan nicaragua, nigerian nigeria, nigerien niger,
norwegian norway, omani oman, pakistani pakistan, panamanian panama, paraguayan paraguay, peruvian peru, polish poland,
portuguese portugal, qatari qatar, romanian romania, russian russia, rwandan rwanda, samoan samoa, scottish scotland,
senegalese senegal, serbian serbia, singaporean singapore, slovak slovakia, slovenian slovenia, somali somalia,
spanish spain, sudanese sudan, surinamese suriname, swedish sweden, swiss switzerland, syrian syria, taiwanese taiwan,
tajik tajikistan, tanzanian tanzania, thai thailand, togolese togo, tongan tonga, tunisian tunisia, turkish turkey,
turkmen turkmenistan, ugandan uganda, ukrainian ukraine, uruguayan uruguay, uzbek uzbekistan, venezuelan venezuela,
vietnamese vietnam, welsh wales, yemeni yemen, zambian zambia, zimbabwean zimbabwe
"""

COUNTRIES = dict(pair.split() for pair in _NAMED.replace("\n", " ").split(","))
"""Adjective → country, both in lower case."""
